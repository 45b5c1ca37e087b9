"""The web server: supervisor, workers, and uvicorn's protocol with deadlines and connection limits."""
