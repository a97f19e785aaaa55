import json


def schema(name, required, **properties):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


TEXT = {"type": "string"}


class GetOrder:
    name = "get_order_details"

    @staticmethod
    def invoke(data, order_id):
        return json.dumps(data["orders"][order_id]) if order_id in data["orders"] else "Error: order not found"

    @staticmethod
    def get_info():
        return schema(GetOrder.name, ["order_id"], order_id=TEXT)


class CancelOrder:
    name = "cancel_pending_order"

    @staticmethod
    def invoke(data, order_id, reason):
        order = data["orders"].get(order_id)
        if order is None or order["status"] != "pending":
            return "Error: no pending order"
        order |= {"status": "cancelled", "cancel_reason": reason}
        data["users"][order["user_id"]]["balance"] += order["price"]
        return json.dumps(order)

    @staticmethod
    def get_info():
        return schema(CancelOrder.name, ["order_id", "reason"], order_id=TEXT, reason=TEXT)


class Place:
    name = "place_order"

    @staticmethod
    def invoke(data, order_id, user_id, price):
        data["orders"][order_id] = {"user_id": user_id, "status": "pending", "price": price}
        return order_id

    @staticmethod
    def get_info():
        return schema(
            Place.name, ["order_id", "user_id", "price"], order_id=TEXT, user_id=TEXT, price={"type": "number"}
        )


class Transfer:
    name = "transfer_to_human_agents"

    @staticmethod
    def invoke(data, summary):
        return "Transfer successful"

    @staticmethod
    def get_info():
        return schema(Transfer.name, ["summary"], summary=TEXT)


ALL = (GetOrder, CancelOrder, Place, Transfer)
