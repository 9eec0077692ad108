"""A simulated world: a task whose every call and every piece of knowledge is accounted for, behind an OpenAI-compatible server."""
