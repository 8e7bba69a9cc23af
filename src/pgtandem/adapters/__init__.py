"""The real world behind the ports: this machine, PostgreSQL over psycopg, files beside the topology file."""
