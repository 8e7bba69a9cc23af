"""Rules: from a Topology and an Observed value to a Plan. Pure; one file per question.

An unknown fact refuses or waits; it is never guessed.
"""
