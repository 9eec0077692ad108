"""An agent with middleware that adds to its system message before each call."""

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import SystemMessage

WARNING = "Mind that the shop is closed on Mondays."


class Closed(AgentMiddleware):
    def wrap_model_call(self, request, handler):
        return handler(self._changed(request))

    async def awrap_model_call(self, request, handler):
        return await handler(self._changed(request))

    def _changed(self, request):
        return request.override(system_message=SystemMessage(f"{request.system_prompt}\n\n{WARNING}"))


def build(model):
    return create_agent(model, [], system_prompt="You plan visits to the shop.", middleware=[Closed()])
