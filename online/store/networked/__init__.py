"""The store in a database server: PostgreSQL, MariaDB or MySQL, shared by any number of nodes."""
