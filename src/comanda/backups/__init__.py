"""Backups of the database: snapshots of its disk, how long they are kept, and the drill that proves them.

Runs in the cluster by itself (`infra/deployment/db/6-db-backup.yaml`). What is kept and what may be lost:
docs/backups.md. Why so and not otherwise: docs/decisions/0010-backups.md.
"""
