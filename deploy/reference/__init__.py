"""Documents generated from the code: reference pages, receivers' guides, AsyncAPI, JSON Schemas."""
