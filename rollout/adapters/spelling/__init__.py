"""How users write a strategy: pydantic models, key by key, each made into what the engine knows."""
