"""On the line: a service that inspects what it is sent, keeps a record of everything, and has pages to work with."""
