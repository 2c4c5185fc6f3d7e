"""What a service keeps: the database, the pictures, and for how long."""
