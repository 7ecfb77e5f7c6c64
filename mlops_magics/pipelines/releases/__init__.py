"""Releases: a pipeline as it was when it passed its smoke run, kept by content.

`freezing` copies what a pipeline is made of and checks the copy before each run; `smoke` tries it
where it can do no harm; `catalogue` has the verbs, and says which release is current.
"""
