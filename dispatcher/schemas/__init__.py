"""Schemas of formulas: ``<formula>.schema.json``, which ``[params]`` of an action must fit.

Anybody who may push to an ops repo can write a schema there, and it is read before anybody approved
it. So nothing in one may stop the control loop: see ``bounded``.

* ``formula_schema``: the file, parsed: the schema itself and ``x-disinto``
* ``declarations``: what ``x-disinto`` says
* ``bounded``: validation with a budget, by the library jsonschema
* ``params``: what does not fit, in words and with its place
* ``combined``: the schema of an action that names the formula, for editors
"""

from dispatcher.schemas.formula_schema import (
    SCHEMA_LIMIT,
    FormulaSchema,
    InvalidSchema,
    parse_schema,
)
from dispatcher.schemas.params import fits, params_problems

__all__ = [
    "SCHEMA_LIMIT",
    "FormulaSchema",
    "InvalidSchema",
    "fits",
    "params_problems",
    "parse_schema",
]
