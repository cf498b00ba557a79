"""Warnings about secrets that are valid, but look wrong."""

from __future__ import annotations

import pytest

from schemas.subscriptions.secret_warnings import form_of, secret_warnings

SECRET = "a-secret-of-env-0123456789"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("{}\n", "its secret ends with a line break (\\n)"),
        ("{}\r", "its secret ends with a carriage return (\\r)"),
        (" {} ", "its secret begins with a space and ends with a space"),
        ("\t{}", "its secret begins with a tab"),
        ("\ufeff{}", "its secret begins with a byte order mark (U+FEFF)"),
        ("\u00a0{}", "its secret begins with a no-break space (U+00A0)"),
        ("{}\u200b", "its secret ends with a zero-width space (U+200B)"),
        ("v1,{}", "its secret begins with v1,"),
        (" v1,whsec_{}", "its secret begins with v1,"),
        ('"{}"', "its secret is in quotes"),
    ],
)
def test_what_stands_around_a_secret_is_warned_of(form: str, expected: str) -> None:
    """White space, a version and quotes are part of the secret, and receivers rarely have them."""
    warnings = list(secret_warnings(form.format(SECRET)))
    assert any(expected in warning for warning in warnings)
    assert not any(SECRET in warning for warning in warnings)


@pytest.mark.parametrize("secret", [SECRET, "whsec_c2VjcmV0", "two words", "a'b", "v1", "clé"])
def test_usual_secrets_have_no_warning(secret: str) -> None:
    """Inner spaces and other signs are the customer's choice."""
    assert list(secret_warnings(secret)) == []


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("v1,whsec_x", "; the prefix v1, does not belong before the secret"),
        ("whsec_x\n", "; it ends with a line break (\\n)"),
        ('"whsec_x"', "; it is in quotes"),
        ("A=whsec_x", "; a name and = or : stand before it"),
        ("WHSEC_x", ""),
    ],
)
def test_invalid_secret_says_what_stands_around_it(secret: str, expected: str) -> None:
    """An error about an invalid secret names what has to go."""
    assert form_of(secret) == expected
