"""PostgreSQL: whether it serves, who waits for whom, and how full its disk is."""

from comanda_dashboards.parts import RED, YELLOW, Dashboard, Panel, Query, Row, stat

HERE = 'job="postgresql"'
OURS = f'{HERE}, datname="comanda"'
VOLUME = 'job="kubelet", namespace="comanda-db", persistentvolumeclaim="data-database-0"'
CONTAINER = 'job="cadvisor", namespace="comanda-db", container="postgresql"'
SLOWLY = "30s"
"""How often the job is scraped."""


def rate(metric: str) -> str:
    """Answer the rate of a counter of the diner's database."""
    return f"sum(rate({metric}{{{OURS}}}[$__rate_interval]))"


NOW = Row(
    "Now",
    (
        stat(
            "PostgreSQL answers",
            "none",
            f"max(pg_up{{{HERE}}}) or on() vector(0)",
            first=RED,
            steps=((1, "green"),),
            mappings={"0": ("no", RED), "1": ("yes", "green")},
            every=SLOWLY,
        ),
        stat(
            "Connections of those allowed",
            "percentunit",
            f"sum(pg_stat_activity_count{{{HERE}}}) / max(pg_settings_max_connections{{{HERE}}})",
            steps=((0.7, YELLOW), (0.9, RED)),
            every=SLOWLY,
        ),
        stat(
            "Disk in use",
            "percentunit",
            f"max(kubelet_volume_stats_used_bytes{{{VOLUME}}} / kubelet_volume_stats_capacity_bytes{{{VOLUME}}})",
            steps=((0.75, YELLOW), (0.9, RED)),
            about="db-grow makes it larger while it serves.",
        ),
        stat(
            "Longest transaction",
            "s",
            f'max(pg_stat_activity_max_tx_duration{{{OURS}, state!="idle"}})',
            steps=((60, YELLOW), (300, RED)),
            about="One that stays open keeps tables from being cleaned.",
            every=SLOWLY,
        ),
        stat(
            "Found in memory",
            "percentunit",
            f"{rate('pg_stat_database_blks_hit')}"
            f" / ({rate('pg_stat_database_blks_hit')} + {rate('pg_stat_database_blks_read')} > 0)",
            first=RED,
            steps=((0.9, YELLOW), (0.98, "green")),
            about="Blocks that PostgreSQL had in its own cache.",
            none="not asked",
            every=SLOWLY,
        ),
        stat("Size", "bytes", f"max(pg_database_size_bytes{{{OURS}}})", every=SLOWLY),
    ),
)

WORK = Row(
    "Work",
    (
        Panel(
            "Transactions",
            "cps",
            (
                Query(rate("pg_stat_database_xact_commit"), "committed"),
                Query(rate("pg_stat_database_xact_rollback"), "rolled back"),
            ),
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Rows written",
            "cps",
            (
                Query(rate("pg_stat_database_tup_inserted"), "inserted"),
                Query(rate("pg_stat_database_tup_updated"), "updated"),
                Query(rate("pg_stat_database_tup_deleted"), "deleted"),
            ),
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Rows read",
            "cps",
            (
                Query(rate("pg_stat_database_tup_returned"), "looked at"),
                Query(rate("pg_stat_database_tup_fetched"), "by an index"),
            ),
            about="Many more looked at than by an index: a query that lacks one.",
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Connections",
            "short",
            (
                Query(f"sum by (state) (pg_stat_activity_count{{{OURS}}})", "{{state}}"),
                Query(f"max(pg_settings_max_connections{{{HERE}}})", "allowed"),
            ),
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Locks",
            "short",
            (Query(f"sum by (mode) (pg_locks_count{{{OURS}}}) > 0", "{{mode}}"),),
            none="none",
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Deadlocks",
            "short",
            (Query(f"sum(increase(pg_stat_database_deadlocks{{{OURS}}}[$__rate_interval]))", "deadlocks"),),
            steps=((1, RED),),
            bottom=0,
            every=SLOWLY,
        ),
    ),
)

SPACE = Row(
    "Disk",
    (
        Panel(
            "Disk",
            "bytes",
            (
                Query(f"max(kubelet_volume_stats_used_bytes{{{VOLUME}}})", "used"),
                Query(f"max(kubelet_volume_stats_capacity_bytes{{{VOLUME}}})", "in all"),
                Query(
                    f"max(kubelet_volume_stats_capacity_bytes{{{VOLUME}}}"
                    f" - predict_linear(kubelet_volume_stats_available_bytes{{{VOLUME}}}[1h], 4 * 3600))",
                    "used in 4 h, at this rate",
                ),
            ),
            bottom=0,
        ),
        Panel(
            "Write-ahead log",
            "bytes",
            (Query(f"max(pg_wal_size_bytes{{{HERE}}})", "log"),),
            about="Rises without end where something keeps it: a replication slot, or checkpoints that do not come.",
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Temporary files",
            "Bps",
            (Query(rate("pg_stat_database_temp_bytes"), "written"),),
            about="Sorts and joins that did not fit into work_mem.",
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Rows that wait to be cleaned",
            "short",
            (Query(f"topk(8, sum by (relname) (pg_stat_user_tables_n_dead_tup{{{HERE}}}))", "{{relname}}"),),
            about="Dead rows of the tables that have most. Autovacuum takes them away.",
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "Rows",
            "short",
            (Query(f"topk(8, sum by (relname) (pg_stat_user_tables_n_live_tup{{{HERE}}}))", "{{relname}}"),),
            bottom=0,
            every=SLOWLY,
        ),
        Panel(
            "CPU and memory of the container",
            "percentunit",
            (
                Query(f"sum(rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))", "cores"),
                Query(
                    f"max(container_memory_working_set_bytes{{{CONTAINER}}}"
                    f" / (container_spec_memory_limit_bytes{{{CONTAINER}}} > 0))",
                    "memory of its limit",
                ),
            ),
            bottom=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    "postgresql",
    "PostgreSQL",
    "The database: whether it serves, who waits, how full its disk is.",
    (NOW, WORK, SPACE),
)
