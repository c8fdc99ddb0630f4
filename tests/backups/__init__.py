"""Tests of the backups: what is kept, what a run does to a cluster, and what a drill finds."""
