"""The paper's tables and figures, each by one command: targets as data, runs that may be stopped, context."""
