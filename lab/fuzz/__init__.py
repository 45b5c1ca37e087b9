"""A fuzz of every header and body field of the API, over HTTP and by raw bytes, on a stack of its own."""
