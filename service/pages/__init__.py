"""Pages for people, rendered on the server: no JavaScript, one strict policy."""
