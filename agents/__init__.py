"""What is done: the handlers, their delivery, and the clients they speak through. Knows `models`, never the app."""
