"""The language everyone speaks: types, their rules and their records. No broker, no network, no clock."""
