"""Production traffic as a table: read from the formats of the field, looked at, written; no sockets here."""
