"""The Onboarding API: `/api/v1/webhooks/`, as docs/senders/onboarding.md documents it; On is a decision there."""
