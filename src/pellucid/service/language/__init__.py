"""What people read: sentences in English and Persian, dates and digits."""
