"""Retail tasks without end: tau2's retail tools and rules, generated customers, requests and gold actions.

    worlds.py     one customer of tau2's database under new ids, with their orders: a small database of its own
    customer.py   what a customer has, and how they introduce themselves
    requests.py   what they ask for: a sentence, and the goal behind it
    goals.py      Call, Goal: the calls that a request needs and what must be said
    agent.py      who makes no mistake: the solution of a task
    environment.py  domain=retail_generated: the tasks as an environment, with held-out customers in two halves
    generator.py  RetailTask: generated, one of tau2's training tasks, or one of these under new ids

Customers of held-out tasks are drawn for validation alone, never for training or a demonstration. A goal says what is
to be reached and not how.
"""
