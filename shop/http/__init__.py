"""HTTP as a web process serves it: uvicorn's protocol with deadlines and bounds, request bodies, the ASGI
application, and Django's pages behind it.
"""
