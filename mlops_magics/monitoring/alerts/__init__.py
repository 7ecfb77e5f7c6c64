"""Alerts that can be believed, acted on and traced.

The server's agent judges each endpoint's closed windows (`watch`) by stated conditions
(`conditions`), as its policy asks (`policy`). What holds over several windows in a row becomes one
alert (`states`), which is delivered once to each sink (`deliveries`, `webhook`, `command`). An
alert leads to the requests behind it (`evidence`) and to the notebook's cell that made the model
(`origin`). The verbs are in `catalogue`.
"""
