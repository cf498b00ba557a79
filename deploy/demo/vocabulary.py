"""Words for simulated events: names with letters of many languages, and terms of the products."""

from __future__ import annotations

from typing import Final

FIRST_NAMES: Final = (
    "Sarah",
    "Mike",
    "Zoë",
    "José",
    "Łukasz",
    "Søren",
    "Aïcha",
    "Đorđe",
    "Nguyễn",
    "美咲",
    "Oğuz",
    "Ana",
)
LAST_NAMES: Final = (
    "Johnson",
    "Chen",
    "Müller",
    "Núñez",
    "Wójcik",
    "Ångström",
    "O'Brien",
    "Đặng",
    "佐藤",
    "Şahin",
    "D'Amico",
)
COMPANIES: Final = (
    "Acme Holdings",
    "Société Générale d'Import",
    "Łódź Logistyka",
    "Nordsjø Shipping",
    "株式会社みなと",
    "Grüne Höfe",
    "Čedok Travel",
    "São João Têxteis",
    "Blue Harbour Capital",
    "Ελληνικά Ναυπηγεία",
    "İstanbul Ticaret",
    "Peña & Hijos",
)
FORMS: Final = ("Ltd", "GmbH", "S.A.", "sp. z o.o.", "AB", "LLC", "Ltda.")
STATUSES: Final = ("New", "In Progress", "Pending Customer", "In Review", "Approved")
PRIORITIES: Final = ("Low", "Medium", "High", "Critical")
CASE_TYPES: Final = ("Onboarding", "Periodic Review", "Event Driven Review", "Remediation")
CHECKS: Final = (
    ("PEP Screening", "Screening", "WorldCheck"),
    ("Sanctions Screening", "Screening", "Dow Jones"),
    ("Adverse Media", "Screening", "ComplyAdvantage"),
    ("Company Registry", "Company", "Companies House"),
    ("Document Verification", "Identity", "Onfido"),
)
FINDINGS: Final = ("PEP Match", "Sanctions Match", "Adverse Media", "Name Variant", "Registry Mismatch")
FAILURES: Final = (
    "Provider timeout after 30 seconds",
    "Provider answered 503: “maintenance”",
    "Quota of the provider is used up",
    "Response could not be read: unexpected field “naïve_score”",
)
REASONS: Final = (
    "Complex corporate structure requires senior review.",
    "Potential sanctions match requires senior review.",
    "Beneficial owner could not be identified - 3 layers deep.",
    "Customer didn't answer within 14 days.",
)
NOTES: Final = (
    "All checks passed. PEP match reviewed and cleared.",
    "Former local councillor. Low risk.",
    "False positive: different date of birth (café owner, not the minister).",
    "Source of wealth verified against the registry in Zürich.",
    'Analyst quoted the customer: "no other accounts".\nSecond reader agreed.',
)
COUNTRIES: Final = ("DE", "FR", "PL", "JP", "VN", "BR", "TR", "GB")
PROVIDERS: Final = ("WorldCheck", "Dow Jones", "ComplyAdvantage")
LISTS: Final = (
    "Mexico Michoacan Municipalities Leadership",
    "EU Consolidated Financial Sanctions",
    "Gazette officielle - Côte d'Ivoire",
    "OFAC SDN",
)
