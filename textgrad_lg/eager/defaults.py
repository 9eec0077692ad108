"""Roles that are taken where the script names none."""

from __future__ import annotations

SYSTEM_PROMPT_ROLE = "system prompt of the language model, which is used again for every query"
VARIABLE_INPUT_ROLE = "query to the language model"
VARIABLE_OUTPUT_ROLE = "response from the language model"

SYSTEM_PROMPT_DEFAULT_ROLE = SYSTEM_PROMPT_ROLE
VARIABLE_INPUT_DEFAULT_ROLE = VARIABLE_INPUT_ROLE
VARIABLE_OUTPUT_DEFAULT_ROLE = VARIABLE_OUTPUT_ROLE
