"""What the files are called in which records lie, each name in this one place."""

CONFIG = "config.json"
"""A run's configuration; a folder that holds one is a run's."""
ENVIRONMENT = "environment.json"
"""What else its result depends on."""
METRICS = "metrics.jsonl"
"""A line an epoch."""
DIAGNOSTICS = "diagnostics.jsonl"
"""A line for each quantity and layer at each measurement."""
CHECKPOINT = "checkpoint.safetensors"
"""Where the run goes on, or ended."""
RESULT = "result.json"
"""How it ended; a run without one is unfinished."""
ROBUSTNESS = "robustness.json"
"""What was measured of a finished run under attack."""

STUDY = "study.json"
"""What a study found, beside its runs."""

ASSESSMENT = "assessment.json"
"""What an assessment found, beside its rungs."""

SEARCH = "search.json"
"""What is searched for a rule, beside the runs that are its trials."""

RESULTS_TABLE, TRIALS_TABLE = "results.csv", "trials.csv"
"""The runs, and the trials of searches, for a spreadsheet; beside the report's page."""
