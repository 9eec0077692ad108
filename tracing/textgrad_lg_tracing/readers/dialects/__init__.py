"""One module for each producer of spans: what its spans say of a LangGraph run."""
