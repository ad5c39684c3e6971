"""Arrow as data: its objects, made of schemas and of memory."""
