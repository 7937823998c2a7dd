"""What a person asks for, as functions that commands and pages call."""
