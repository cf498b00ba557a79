"""The ledger: reads `outcomes` and writes SQL that answers what happened to a delivery."""
