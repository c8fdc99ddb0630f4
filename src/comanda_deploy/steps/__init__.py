"""The steps of the runbook, one file each: what is there, what should change, how it is taken back."""
