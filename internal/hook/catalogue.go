package hook

// catalogue holds the documentation's topics. The order is part of TopicSet: append only.
var catalogue = [...]Topic{
	{Name: "account.customer.linked", Category: "ACCOUNT", Description: "customer linked to an account"},
	{Name: "account.customer.unlinked", Category: "ACCOUNT", Description: "customer unlinked from an account"},
	{Name: "conversation", Category: "CONVERSATION", Description: "conversation changes"},
	{Name: "conversation.agent", Category: "CONVERSATION", Description: "conversation agent changes"},
	{Name: "conversation.tags", Category: "CONVERSATION", Description: "conversation tag changes"},
	{Name: "conversation.custom_field", Category: "CONVERSATION", Description: "conversation custom field changes"},
	{Name: "conversation.status", Category: "CONVERSATION", Description: "conversation status changes"},
	{Name: "conversation.priority", Category: "CONVERSATION", Description: "conversation priority changes"},
	{Name: "customer", Category: "CUSTOMER", Description: "customer changes"},
	{Name: "customer.identify", Category: "CUSTOMER", Description: "a customer became known (identified)"},
	{Name: "customer.created", Category: "CUSTOMER", Description: "customer created"},
	{Name: "customer.updated", Category: "CUSTOMER", Description: "customer updated"},
	{Name: "customer.custom_fields", Category: "CUSTOMER", Description: "customer custom field changes"},
	{Name: "customer_notes", Category: "NOTES", Description: "customer note created or updated"},
	{Name: "customer_notes.deleted", Category: "NOTES", Description: "customer note deleted"},
}
