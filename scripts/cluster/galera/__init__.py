"""MariaDB with Galera: one primary component, in which one member writes."""
