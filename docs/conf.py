"""Sphinx makes the site of `make docs` with this, from the pages that deploy/reference/site.py puts together."""

project = "Signpost"
html_title = "Signpost"
extensions = ["myst_parser"]
html_theme = "furo"
html_extra_path = ["_extra"]
html_copy_source = False
html_show_copyright = False
# Links to a heading, such as `page.md#the-folder`.
myst_heading_anchors = 4
# Examples of requests and terminals may be incomplete in the syntax of their language.
suppress_warnings = ["misc.highlighting_failure"]
