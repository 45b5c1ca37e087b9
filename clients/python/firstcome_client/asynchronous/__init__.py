"""The client for asyncio; `synchronous` is made of it, word by word, where `generated` is made."""
