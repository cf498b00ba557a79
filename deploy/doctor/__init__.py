"""`signpost doctor`: reads the state of an installation and of the services that it uses, checks it, and reports.

    reading/        brokers, registry, database, files, an endpoint; each reading has a time limit
    checks/         plain functions: what was read in, findings out
    examination/    reads, runs the checks, makes the report

A finding has what is wrong, where, and what to do.
"""
