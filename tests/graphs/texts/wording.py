"""Words that a graph in another module sends."""


def briefing(customer, topic):
    """What the model is told about a customer."""
    subject = topic.upper()
    return f"Advise {customer} on the subject {subject}, and name one book on it."
