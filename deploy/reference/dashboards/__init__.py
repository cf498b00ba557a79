"""The Grafana dashboards as code: `python -m deploy.reference.dashboards deploy/grafana` writes them as JSON.

A module per dashboard has its rows. Needs grafana-foundation-sdk, a package for development: the product does not
import this package. A test compares the JSON in deploy/grafana/ with this code.
"""
