"""Continuous training: what makes a pipeline run while nobody is there.

A trigger watches for one thing (`kinds`). When it happens, a firing is written to the database
(`firings`), once, whoever sees it; the server's agent (`watch`) claims it and starts a process for
its run (`job`). The verbs are in `catalogue` and `account`.
"""
