"""HTTP/1.1 as this server speaks it: uvicorn's protocol with deadlines and bounds."""
