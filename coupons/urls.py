"""The app's addresses under /api/v1."""

from coupons import api
from foundation.http.views import routes

urlpatterns = routes(
    {
        "campaigns": api.Campaigns,
        "campaigns/<int:campaign_id>": api.OneCampaign,
        "campaigns/<int:campaign_id>/pause": api.PauseCampaign,
        "campaigns/<int:campaign_id>/resume": api.ResumeCampaign,
        "campaigns/<int:campaign_id>/codes": api.CampaignCodes,
        "campaigns/<int:campaign_id>/codes/<str:code>": api.OneCampaignCode,
        "campaigns/<int:campaign_id>/eligible-accounts": api.CampaignEligibleAccounts,
        "coupons": api.Coupons,
        "coupons/<str:code>": api.OneCoupon,
        "coupons/<str:code>/void": api.VoidCoupon,
        "queue-tickets/<uuid:ticket_id>": api.OneQueueTicket,
    }
)
