"""What OpenSSH reads: authorized_keys, known_hosts, the client's configuration. Pure: texts in, texts out."""
