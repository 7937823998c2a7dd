"""The pipeline on Faust."""
