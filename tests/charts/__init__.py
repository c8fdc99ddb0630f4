"""Our values, held against the charts that they are for, by helm itself. What it needs is built by Go."""
