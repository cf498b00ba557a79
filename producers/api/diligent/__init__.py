"""Diligent's API: `/webhooks`, as docs/senders/diligent.md documents it; Dn is a decision there."""
