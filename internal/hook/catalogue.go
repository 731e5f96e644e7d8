package hook

// catalogue holds the documentation's topics. The order is part of TopicSet: append only. The
// samples are ours: documents as Atlas might publish them, each about an object with an id. Several
// of them leave ASCII, as the names of customers do.
var catalogue = [...]Topic{
	{
		Name: "account.customer.linked", Schema: linkedSchema, Category: "ACCOUNT", Description: "customer linked to an account",
		Summary: "Sent when a customer is added to an account, by an agent, by an import or by a rule.",
		Sample: `{"id": "9d0f6f0b-3c0c-4a55-8f0e-2a1f0d6b7c11", ` +
			`"account": {"id": "5b1e2c74-90f1-4f0e-a1c3-7c0d9f1e8a20", "name": "Northwind Bakery"}, ` +
			`"customer": {"id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", "name": "José Álvarez", "email": "jose@example.com"}, ` +
			`"linked_at": "2026-03-02T09:14:07.512Z", "linked_by": "agent"}`,
	},
	{
		Name: "account.customer.unlinked", Schema: unlinkedSchema, Category: "ACCOUNT", Description: "customer unlinked from an account",
		Summary: "Sent when a customer is taken out of an account. Both go on to exist.",
		Sample: `{"id": "9d0f6f0b-3c0c-4a55-8f0e-2a1f0d6b7c11", ` +
			`"account": {"id": "5b1e2c74-90f1-4f0e-a1c3-7c0d9f1e8a20", "name": "Northwind Bakery"}, ` +
			`"customer": {"id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", "name": "José Álvarez", "email": "jose@example.com"}, ` +
			`"unlinked_at": "2026-03-09T16:40:00Z", "unlinked_by": "import"}`,
	},
	{
		Name: "conversation", Schema: conversationFull, Category: "CONVERSATION", Description: "conversation changes",
		Summary: "Sent when a conversation is started, and again whenever anything about it changes.",
		Sample: `{"id": "b7c0a1de-52f4-4d0e-93a7-0f4b1c2d3e4f", "number": 4812, ` +
			`"subject": "Parcel arrived open", "status": "OPEN", "priority": "MEDIUM", ` +
			`"channel": "EMAIL", "customer_id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", ` +
			`"assigned_agent_id": null, "tags": ["shipping"], "started_at": "2026-03-02T09:15:00Z", ` +
			`"updated_at": "2026-03-02T09:15:31.204Z", "message_count": 1}`,
	},
	{
		Name: "conversation.agent", Schema: agentSchema, Category: "CONVERSATION", Description: "conversation agent changes",
		Summary: "Sent when a conversation is assigned to an agent, passed to another one, or left without one.",
		Sample: `{"id": "b7c0a1de-52f4-4d0e-93a7-0f4b1c2d3e4f", "number": 4812, ` +
			`"assigned_agent": {"id": "a-204", "name": "Zoë Lindqvist"}, "previous_agent": null, ` +
			`"changed_at": "2026-03-02T09:17:44.031Z"}`,
	},
	{
		Name: "conversation.tags", Schema: tagsSchema, Category: "CONVERSATION", Description: "conversation tag changes",
		Summary: "Sent when tags are put on a conversation or taken off it.",
		Sample: `{"id": "b7c0a1de-52f4-4d0e-93a7-0f4b1c2d3e4f", "number": 4812, ` +
			`"tags": ["shipping", "refund"], "added": ["refund"], "removed": [], ` +
			`"changed_at": "2026-03-02T09:20:10Z"}`,
	},
	{
		Name: "conversation.custom_field", Schema: customFieldSchema, Category: "CONVERSATION", Description: "conversation custom field changes",
		Summary: "Sent when a custom field of a conversation gets a value, another value, or none.",
		Sample: `{"id": "b7c0a1de-52f4-4d0e-93a7-0f4b1c2d3e4f", "number": 4812, ` +
			`"custom_fields": {"order_number": "A-1009", "refund_amount": 42.5, "warehouse": "Malmö"}, ` +
			`"changed": "refund_amount", "previous_value": null, ` +
			`"changed_at": "2026-03-02T09:21:55.870Z"}`,
	},
	{
		Name: "conversation.status", Schema: statusSchema, Category: "CONVERSATION", Description: "conversation status changes",
		Summary: "Sent when a conversation is opened, snoozed, closed or opened again.",
		Sample: `{"id": "b7c0a1de-52f4-4d0e-93a7-0f4b1c2d3e4f", "number": 4812, ` +
			`"subject": "Parcel arrived open", "status": "CLOSED", "previous_status": "OPEN", ` +
			`"closed_by": "a-204", "changed_at": "2026-03-02T10:02:18.990Z"}`,
	},
	{
		Name: "conversation.priority", Schema: prioritySchema, Category: "CONVERSATION", Description: "conversation priority changes",
		Summary: "Sent when a conversation becomes more or less urgent.",
		Sample: `{"id": "b7c0a1de-52f4-4d0e-93a7-0f4b1c2d3e4f", "number": 4812, "priority": "URGENT", ` +
			`"previous_priority": "MEDIUM", "changed_by": "a-204", "changed_at": "2026-03-02T09:18:02Z"}`,
	},
	{
		Name: "customer", Schema: customerFull, Category: "CUSTOMER", Description: "customer changes",
		Summary: "Sent when a customer is created, becomes known or changes in any way.",
		Sample: `{"id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", "external_id": "u-88120", ` +
			`"name": "José Álvarez", "email": "jose@example.com", "phone_number": "+34 555 010 020", ` +
			`"account_ids": ["5b1e2c74-90f1-4f0e-a1c3-7c0d9f1e8a20"], "locale": "es-ES", ` +
			`"created_at": "2026-02-27T18:30:12Z", "updated_at": "2026-03-02T09:14:07.512Z"}`,
	},
	{
		Name: "customer.identify", Schema: identifySchema, Category: "CUSTOMER", Description: "a customer became known (identified)",
		Summary: "Sent when an anonymous visitor signs in or is matched to somebody already known.",
		Sample: `{"id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", "external_id": "u-88120", ` +
			`"anonymous_id": "anon-71f3", "name": "José Álvarez", "email": "jose@example.com", ` +
			`"identified_at": "2026-02-27T18:31:40.006Z", "identified_by": "sign_in"}`,
	},
	{
		Name: "customer.created", Schema: customerFull, Category: "CUSTOMER", Description: "customer created",
		Summary: "Sent once, when a customer is first stored.",
		Sample: `{"id": "d4b90e52-1f7a-4d53-b1a8-6c5e4f3d2b10", "external_id": null, "name": "小林 あかり", ` +
			`"email": "akari@example.com", "phone_number": null, "source": "chat", ` +
			`"created_at": "2026-03-03T00:05:59.120Z"}`,
	},
	{
		Name: "customer.updated", Schema: customerChanges, Category: "CUSTOMER", Description: "customer updated",
		Summary: "Sent when a customer's name, address, number or another of the standard fields changes.",
		Sample: `{"id": "d4b90e52-1f7a-4d53-b1a8-6c5e4f3d2b10", "external_id": "u-90411", "name": "小林 あかり", ` +
			`"email": "akari@example.com", "phone_number": "+81 555 0142", ` +
			`"changed": ["external_id", "phone_number"], "updated_at": "2026-03-03T00:12:21Z"}`,
	},
	{
		Name: "customer.custom_fields", Schema: customerChanges, Category: "CUSTOMER", Description: "customer custom field changes",
		Summary: "Sent when custom fields of a customer get a value, another value, or none.",
		Sample: `{"id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", ` +
			`"custom_fields": {"plan": "pro", "seats": 12, "renews_on": "2027-01-31", "beta": true}, ` +
			`"changed": ["plan", "seats"], "updated_at": "2026-03-04T07:45:00.250Z"}`,
	},
	{
		Name: "customer_notes", Schema: customerNotes, Category: "NOTES", Description: "customer note created or updated",
		Summary: "Sent when an agent writes a note about a customer, and again when the note is edited.",
		Sample: `{"id": "9f0c5f0e-0a4e-4c57-9d43-0d3f6c3b8d11", "object_type": "customer", ` +
			`"object_id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", ` +
			`"text": "Called back: \"all good\" 👍\nWants a call before the next delivery.", ` +
			`"creator": {"id": "a-204", "name": "Zoë Lindqvist"}, "edited": false, ` +
			`"created_at": "2026-03-02T11:30:00Z", "updated_at": "2026-03-02T11:30:00Z"}`,
	},
	{
		Name: "customer_notes.deleted", Schema: customerNotesDeleted, Category: "NOTES", Description: "customer note deleted",
		Summary: "Sent when a note about a customer is deleted. The data is the note as it last was.",
		Sample: `{"id": "9f0c5f0e-0a4e-4c57-9d43-0d3f6c3b8d11", "object_type": "customer", ` +
			`"object_id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e", "text": "Called back, resolved.", ` +
			`"creator": {"id": "a-204", "name": "Zoë Lindqvist"}, "edited": true, ` +
			`"created_at": "2026-03-02T11:30:00Z", "updated_at": "2026-03-05T08:02:45.733Z"}`,
	},
}
