"""pgtandem builds PostgreSQL streaming-replication clusters and keeps them right."""

__version__ = "0.1.0"
