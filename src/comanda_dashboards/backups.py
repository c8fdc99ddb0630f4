"""Backups: how old the newest is, and whether it was proven that one restores."""

from comanda_dashboards.parts import RED, YELLOW, Dashboard, Panel, Query, Row, stat

HERE = 'job="comanda-worker"'
DAY = 86400

NOW = Row(
    "Now",
    (
        stat(
            "Age of the newest backup",
            "s",
            f"time() - max(comanda_backup_newest_timestamp_seconds{{{HERE}}})",
            steps=((45 * 60, YELLOW), (2 * 3600, RED)),
            about="One comes every 15 minutes. What came since is what a restore loses.",
            none="no backup yet",
            width=6,
        ),
        stat(
            "Last backup",
            "none",
            f"min(comanda_backup_last_success{{{HERE}}})",
            first=RED,
            steps=((1, "green"),),
            mappings={"0": ("failed", RED), "1": ("well", "green")},
            none="none yet",
            width=6,
        ),
        stat(
            "Age of the last drill",
            "s",
            f"time() - max(comanda_restore_drill_timestamp_seconds{{{HERE}}})",
            steps=((8 * DAY, YELLOW), (15 * DAY, RED)),
            about="Each Sunday the newest backup is restored beside the database and compared with it.",
            none="none yet: db-drill",
            width=6,
        ),
        stat(
            "Last drill",
            "none",
            f"min(comanda_restore_drill_success{{{HERE}}})",
            first=RED,
            steps=((1, "green"),),
            mappings={"0": ("red", RED), "1": ("green", "green")},
            none="none yet: db-drill",
            width=6,
        ),
    ),
)

OVER_TIME = Row(
    "Over time",
    (
        Panel(
            "Age of the newest backup",
            "s",
            (Query(f"time() - max(comanda_backup_newest_timestamp_seconds{{{HERE}}})", "age"),),
            steps=((2 * 3600, RED),),
            none="no backup yet",
            bottom=0,
            width=12,
        ),
        Panel(
            "How long the last drill took",
            "s",
            (Query(f"max(comanda_restore_drill_seconds{{{HERE}}})", "drill"),),
            about="About what a restore takes until the database serves again.",
            none="none yet: db-drill",
            bottom=0,
            width=12,
        ),
        Panel(
            "Backups",
            "short",
            (Query(f"min(comanda_backup_last_success{{{HERE}}})", "backup"),),
            kind="state-timeline",
            mappings={"0": ("failed", RED), "1": ("well", "green")},
            none="none yet",
            width=12,
            height=5,
        ),
        Panel(
            "Drills",
            "short",
            (Query(f"min(comanda_restore_drill_success{{{HERE}}})", "drill"),),
            kind="state-timeline",
            mappings={"0": ("red", RED), "1": ("green", "green")},
            none="none yet: db-drill",
            width=12,
            height=5,
        ),
    ),
)

DASHBOARD = Dashboard(
    "backups",
    "Backups",
    "How old the newest backup is, and whether it was proven that one restores: docs/backups.md.",
    (NOW, OVER_TIME),
    shown="now-7d",
    refresh="1m",
)
