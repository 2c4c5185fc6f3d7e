"""What a watched folder needs beside its thread: listing it, events, whether a file is finished, what was seen."""
