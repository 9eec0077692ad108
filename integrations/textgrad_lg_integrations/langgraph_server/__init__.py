"""LangGraph Server: assistants that are deployed there, made better by the texts of their context.

`optimize(Assistant("support", url="https://..."), evals)` runs each candidate on the server, published nowhere: its texts
go with the run. What holds is published as a new version of the assistant.
"""

from textgrad_lg_integrations.langgraph_server.assistant import Assistant

__all__ = ["Assistant"]
