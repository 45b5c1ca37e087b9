"""The app's addresses under /api/v1."""

from django.urls import path

from coupons import api

urlpatterns = [
    path("campaigns", api.Campaigns.as_view()),
    path("campaigns/<int:campaign_id>", api.OneCampaign.as_view()),
    path("campaigns/<int:campaign_id>/pause", api.PauseCampaign.as_view()),
    path("campaigns/<int:campaign_id>/resume", api.ResumeCampaign.as_view()),
    path("campaigns/<int:campaign_id>/codes", api.CampaignCodes.as_view()),
    path("campaigns/<int:campaign_id>/codes/<str:code>", api.OneCampaignCode.as_view()),
    path("campaigns/<int:campaign_id>/eligible-accounts", api.CampaignEligibleAccounts.as_view()),
    path("coupons", api.Coupons.as_view()),
    path("coupons/<str:code>", api.OneCoupon.as_view()),
    path("coupons/<str:code>/void", api.VoidCoupon.as_view()),
    path("queue-tickets/<uuid:ticket_id>", api.OneQueueTicket.as_view(), name="queue-ticket"),
]
